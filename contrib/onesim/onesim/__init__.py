"""A simulated OpenNebula: its XML-RPC end point, states, errors and context expansion, for laptops and CI."""
