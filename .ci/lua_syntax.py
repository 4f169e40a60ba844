"""Check the syntax of Lua scripts: python .ci/lua_syntax.py FILE ...

Lua 5.1 compiles them, the version that Redis contains. Each file must be a chunk of its own,
so that an error's line number is that of the file.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lupa import lua51


def main() -> int:
    """Print the syntax error of each file that has one, and return the exit code."""
    lua = lua51.LuaRuntime()
    code = 0
    for path in sys.argv[1:]:
        try:
            lua.compile(Path(path).read_bytes(), name="@", mode="t")
        except lua51.LuaSyntaxError as error:
            # Lua would cut a long name, so the path is put in front here.
            print(path + str(error).removeprefix("error loading code: "))
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
