mod kv;
mod route_table;
