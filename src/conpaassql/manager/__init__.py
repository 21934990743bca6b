"""Makes it happen: takes wishes, looks at the world, performs the steps that ``cluster`` decides."""
