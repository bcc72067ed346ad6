machine.wait_for_unit("castaway-media-server.service")
machine.wait_for_open_port(3000)
