//! A door between the proxy and the server that can be shut.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::Cluster;

/// Passes connections on to the cluster while it is open.
pub struct Gate {
    pub port: u16,
    open: Arc<Mutex<Option<Vec<TcpStream>>>>,
    held: Arc<AtomicBool>,
}

impl Gate {
    pub fn open() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = Arc::new(Mutex::new(Some(Vec::new())));
        let shared = Arc::clone(&open);
        let held = Arc::new(AtomicBool::new(false));
        let holds = Arc::clone(&held);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let mut passing = shared.lock().unwrap();
                if let Some(streams) = passing.as_mut() {
                    let server = TcpStream::connect(("127.0.0.1", Cluster::shared().port()));
                    let server = server.unwrap();
                    for (from, to) in [(&client, &server), (&server, &client)] {
                        streams.push(from.try_clone().unwrap());
                        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                        let held = Arc::clone(&holds);
                        std::thread::spawn(move || copy(from, to, &held));
                    }
                }
            }
        });
        Self { port, open, held }
    }

    /// Nothing passes from now on, though no connection ends.
    pub fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    /// What was held passes.
    pub fn release(&self) {
        self.held.store(false, Ordering::SeqCst);
    }

    /// Every connection breaks, and new ones are closed at once.
    pub fn shut(&self) {
        for stream in self.open.lock().unwrap().take().into_iter().flatten() {
            stream.shutdown(Shutdown::Both).ok();
        }
    }

    pub fn reopen(&self) {
        *self.open.lock().unwrap() = Some(Vec::new());
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, held: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        while held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Both).ok();
}
