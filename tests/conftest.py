import signal


def pytest_configure():
    # A script's background job starts with Ctrl-C ignored, nohup's with SIGHUP, and what they start
    # inherits that; the tests that interrupt a command need it to hear.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
