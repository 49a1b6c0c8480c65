"""Programs that are sent to the device over stdin: they run there and leave only what was asked for.

Each is whole in itself, needs only Python 3.6 and its standard library, reads one line of JSON (and what
follows it) from stdin and answers on stdout. They are read as text, never imported, by `deploy/device/device.py`.
"""
