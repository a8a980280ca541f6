"""The live page of runs, ``cellsearch ui``: a small server that only reads, and one page without a
request to anybody else. It needs starlette and uvicorn, the extra ``cellsearch[ui]``.
"""
