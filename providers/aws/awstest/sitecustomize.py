"""Makes moto quick. Python imports this before moto_server runs.

For each request moto works out anew what never changes: which modules it has (170 looks at the disk) and which methods the
class that answers has. With that done once, and connections kept open, a request takes less than half the time. Where a
version of moto has none of it, it stays as slow as it is.
"""

import functools
import gc
import os
import threading
import time


def end_with(parent):
    """Ends moto when the test that started it is gone, however it went."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()

try:
    import moto.backends
    import moto.core.responses
    import werkzeug.serving

    modules = tuple(moto.backends.list_of_moto_modules())
    moto.backends.list_of_moto_modules = lambda: modules
    moto.core.responses.method_names_from_class = functools.cache(moto.core.responses.method_names_from_class)
    werkzeug.serving.WSGIRequestHandler.protocol_version = "HTTP/1.1"
    werkzeug.serving.WSGIRequestHandler.log_request = lambda *_, **__: None
    gc.set_threshold(100_000, 50, 50)
except (ImportError, AttributeError):
    pass
