"""MySQL and MariaDB as a service on OpenNebula.

ARCHITECTURE.md shows the path of a request; each package says what may live in it.
"""

VERSION = "0.1.0"
