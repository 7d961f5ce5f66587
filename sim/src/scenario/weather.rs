//! How slow networks and disks are in a run, drawn from its seed.

use std::time::Duration;

use rand::RngExt;

use crate::runtime::Delay;
use crate::world::{NetConfig, World};

/// Draws the weather of a run: mostly fair, else with a slow disk, a slow network, or both.
pub fn draw(world: &World) -> NetConfig {
    let (us, ms) = (Duration::from_micros, Duration::from_millis);
    let mut rng = world.rng();
    let mut weather = NetConfig::default();
    let (slow_disk, slow_network) = match rng.random_range(0..6) {
        0..=2 => (false, false),
        3 => (true, false),
        4 => (false, true),
        _ => (true, true),
    };
    if slow_disk {
        let most = rng.random_range(2..60);
        weather.disk = Delay { usual: us(100)..ms(most), slow: ms(most)..ms(most * 5), slow_one_in: 50 };
    }
    if slow_network {
        let most = rng.random_range(1..20);
        weather.latency = Delay { usual: us(50)..ms(most), slow: ms(most)..ms(most * 10), slow_one_in: 100 };
    }
    if rng.random_range(0..4) == 0 {
        weather.window_bytes = 4 << 10;
        weather.short_write_one_in = 2;
    }
    tracing::info!(?weather, "weather");
    world.set_weather(weather.clone());
    weather
}
