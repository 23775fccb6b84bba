"""Nova's side: extra specs that its API validates, and a libvirt driver that adds the port."""
