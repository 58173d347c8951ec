"""HTTP on the sockets: how many connections there may be, and how long one may keep the service waiting."""
