import signal


def pytest_configure():
    # A script's background job starts with Ctrl-C ignored, and what it starts inherits that; the
    # tests that interrupt a command need it to hear.
    signal.signal(signal.SIGINT, signal.default_int_handler)
