"""A middleware that takes the seed out of every request: the remedy that the recipe did not take, for its measurement."""

import json


class DropSeeds:
    """ASGI: for `vllm serve --middleware benchmarks.drop_seeds.DropSeeds`."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        """Hand the request on, its body without `seed` where it is a JSON object that has one."""
        if scope["type"] != "http" or scope["method"] != "POST":
            return await self.app(scope, receive, send)
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        try:
            content = json.loads(body)
        except ValueError:
            content = None
        if isinstance(content, dict) and content.pop("seed", None) is not None:
            body = json.dumps(content).encode()
        rest = [item for item in scope["headers"] if item[0] != b"content-length"]
        scope = scope | {"headers": [*rest, (b"content-length", str(len(body)).encode())]}
        told = False

        async def whole() -> dict:
            nonlocal told
            if told:
                return await receive()
            told = True
            return {"type": "http.request", "body": body, "more_body": False}

        return await self.app(scope, whole, send)
