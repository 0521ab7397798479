# Type-checks the app and its tests against the stubs, or with `code` what `conversion.swift` has written to
# Stubs/.build/code; `ios/check` runs it inside the Swift tree.
set -euo pipefail
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
flags=(-swift-version 6 -warnings-as-errors -parse-as-library -wmo -I "$out")
flags+=(-Xfrontend -warn-long-expression-type-checking=5000) # ms of a processor; Xcode gives up on such
flags+=(-I Stubs/MacTypes -Xfrontend -import-module -Xfrontend MacTypes) # as Foundation does on Apple's platforms

library() { # name, sources: a module to import
  swiftc "${flags[@]}" -enable-testing -module-name "$1" -emit-module -emit-module-path "$out/$1.swiftmodule" "${@:2}"
}

check() { # name, sources: down to SIL, where data races are found; a compiler that fails may remove its output
  swiftc "${flags[@]}" -module-name "$1" -emit-sil -o "$out/ignored.sil" "${@:2}"
}

library AppleFoundation Stubs/AppleFoundation/*.swift
flags+=(-Xfrontend -import-module -Xfrontend AppleFoundation)
for name in ImageIO CoreVideo CoreGraphics CoreMedia AVFoundation Accelerate UIKit CoreML Vision SwiftUI PhotosUI XCTest; do
  library "$name" Stubs/"$name"/*.swift
done

if [ "${1:-app}" = code ]; then # each file in a module of its own, as in a person's app
  for file in Stubs/.build/code/*.swift; do
    check "$(basename "$file" .swift)" "$file"
  done
  exit
fi
library DigitKit DigitKit/Sources/DigitKit/*.swift

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
library Digits "${app[@]}"
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
