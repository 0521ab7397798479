# Type-checks the app and its tests against the stubs, or with `code` what `conversion.swift` has written to
# Stubs/.build/code; `ios/check` runs it inside the Swift tree.
set -euo pipefail
scratch=$(mktemp -d)
out=$scratch made=
trap 'rm -rf "$scratch" "$made"' EXIT
flags=(-swift-version 6 -warnings-as-errors -parse-as-library -wmo -I "$out")
flags+=(-Xfrontend -warn-long-expression-type-checking=5000) # ms of a processor; Xcode gives up on such
flags+=(-I Stubs/MacTypes -Xfrontend -import-module -Xfrontend MacTypes) # as Foundation does on Apple's platforms

compile() { # once more where the driver crashed, as it was seen to do on a busy machine
  swiftc "$@" || { (($? > 128)) && swiftc "$@"; }
}

library() { # name, sources: a module to import
  compile "${flags[@]}" -enable-testing -module-name "$1" -emit-module -emit-module-path "$out/$1.swiftmodule" "${@:2}"
}

kept() { # name, command, sources: modules that a command puts into $out, made once for the same sources
  local key kept
  key=$(cat "$0" Stubs/MacTypes/* "${@:3}" <(swiftc --version 2>&1) | sha256sum | cut -c 1-16)
  kept=${XDG_CACHE_HOME:-$HOME/.cache}/type-check/$1-$key
  if [ ! -d "$kept" ]; then
    mkdir -p "${kept%/*}"
    made=$(mktemp -d "${kept%/*}/part-XXXXXX")
    out=$made "$2"
    mv -T "$made" "$kept" 2>/dev/null || rm -rf "$made" # another check has been faster
  fi
  flags+=(-I "$kept")
}

kit() { library DigitKit DigitKit/Sources/DigitKit/*.swift; }

stubs() {
  local flags=("${flags[@]}" -I "$out")
  library AppleFoundation Stubs/AppleFoundation/*.swift
  flags+=(-Xfrontend -import-module -Xfrontend AppleFoundation)
  for name in ImageIO CoreVideo CoreGraphics CoreMedia AVFoundation Accelerate UIKit CoreML Vision SwiftUI PhotosUI XCTest; do
    library "$name" Stubs/"$name"/*.swift
  done
}

check() { # name, sources: down to SIL, where data races are found, in a file: a compiler that fails may remove it
  compile "${flags[@]}" -enable-testing -module-name "$1" -emit-sil -o "$out/$1.sil" \
    -emit-module -emit-module-path "$out/$1.swiftmodule" "${@:2}"
}

kept stubs stubs Stubs/*/*.swift
flags+=(-Xfrontend -import-module -Xfrontend AppleFoundation)

if [ "${1:-app}" = code ]; then # each file in a module of its own, as in a person's app
  for file in Stubs/.build/code/*.swift; do
    check "$(basename "$file" .swift)" "$file"
  done
  exit
fi
kept DigitKit kit DigitKit/Sources/DigitKit/*.swift

# Linux has no macro #Preview: each becomes a function that makes the preview's view.
cp -r Digits "$out/app"
previews=0
while IFS= read -r file; do
  while grep -q '^#Preview' "$file"; do
    previews=$((previews + 1))
    sed -i "0,/^#Preview.*{\$/s//@MainActor @ViewBuilder func preview$previews() -> some View {/" "$file"
  done
done < <(grep -rl '^#Preview' "$out/app")
mapfile -t app < <(find "$out/app" -name '*.swift')
check Digits "${app[@]}"
check DigitsTests DigitsTests/*.swift
check DigitsUITests DigitsUITests/*.swift

# The check can fail: a data race and a signature that Apple does not have are refused.
cat >"$out/race.swift" <<'SWIFT'
final class Counter { var count = 0 }
func race(_ counter: Counter) { Task.detached { counter.count += 1 }; counter.count += 1 }
SWIFT
cat >"$out/signature.swift" <<'SWIFT'
import SwiftUI
struct Wrong: View { var body: some View { Text("7").padding(edges: 3) } }
SWIFT
for fault in race signature; do
  if check Fault "$out/$fault.swift" 2>"$out/$fault.log"; then
    echo "error: the type check let a $fault fault pass" >&2
    exit 1
  fi
done
grep -q "data race" "$out/race.log"
