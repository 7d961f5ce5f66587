mod fragile_disk;
mod kv;
mod route_table;
