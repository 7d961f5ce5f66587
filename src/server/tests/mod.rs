mod accept;
mod pump;
