"""What tests share: `fixtures`, which `tests/conftest.py` loads, and modules to import from.

Commands and components: `commands` runs entry points, `components` skips what is missing, `warm` starts processes that
have imported everything, which is `preloaded`. Stores: `stores`, `sweeps`, `promotions`. Real servers and browsers:
`servers`, `browser`, `drawing_page`. Files to convert, execute and damage: `layers`, `drafts`, `mutations`,
`keras_files`; the memory that this takes: `memory`. Programs that tests start: `untrained`, `killed_at`, `full_disk`,
`code`. The documents: `documents`. The app's golden drawings: `drawings`.
"""
