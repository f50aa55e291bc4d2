"""The version of this program, where everything here can read it."""

__version__ = "0.1.0"
