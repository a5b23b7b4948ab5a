"""An MCP server over stdio with the weather, for a coding agent: its answer comes from a file, each call is written to one.

python tools_server.py NAME CELSIUS_FILE CALLS_FILE    # NAME: what the tool is called
"""

import json
import sys
from pathlib import Path

from mcp.server.mcpserver import MCPServer

name, celsius, calls = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
server = MCPServer("weather")


def weather(city: str) -> str:
    """Get the current weather for a city."""
    with calls.open("a") as log:
        log.write(f"{city}\n")
    return json.dumps({"temperature": int(celsius.read_text())})


server.add_tool(weather, name=name, structured_output=False)
server.run()
