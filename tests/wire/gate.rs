//! A door between the proxy and the server that can be shut.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::Cluster;

/// Passes connections on to the cluster while it is open.
pub struct Gate {
    pub port: u16,
    open: Arc<Mutex<Option<Vec<TcpStream>>>>,
    /// Nothing passes on these connections, numbered in the order in which they came.
    held: Arc<Mutex<Held>>,
    came: Arc<AtomicUsize>,
}

impl Gate {
    pub fn open() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = Arc::new(Mutex::new(Some(Vec::new())));
        let shared = Arc::clone(&open);
        let held = Arc::new(Mutex::new(Held::default()));
        let holds = Arc::clone(&held);
        let came = Arc::new(AtomicUsize::new(0));
        let coming = Arc::clone(&came);
        std::thread::spawn(move || {
            for (number, client) in listener.incoming().flatten().enumerate() {
                coming.store(number + 1, Ordering::SeqCst);
                let mut passing = shared.lock().unwrap();
                if let Some(streams) = passing.as_mut() {
                    let server = TcpStream::connect(("127.0.0.1", Cluster::shared().port()));
                    let server = server.unwrap();
                    let ways = [
                        (&client, &server, Says::Client),
                        (&server, &client, Says::Server),
                    ];
                    for (from, to, says) in ways {
                        streams.push(from.try_clone().unwrap());
                        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                        let held = Arc::clone(&holds);
                        std::thread::spawn(move || copy(from, to, (number, says, &held)));
                    }
                }
            }
        });
        Self {
            port,
            open,
            held,
            came,
        }
    }

    /// Nothing passes from now on, though no connection ends.
    pub fn hold(&self) {
        self.held.lock().unwrap().both = 0..usize::MAX;
    }

    /// Nothing passes on the connections that there are, though none ends.
    pub fn hold_present(&self) {
        self.held.lock().unwrap().both = 0..self.came.load(Ordering::SeqCst);
    }

    /// Nothing passes on the connections that come from now on.
    pub fn hold_new(&self) {
        self.held.lock().unwrap().both = self.came.load(Ordering::SeqCst)..usize::MAX;
    }

    /// What the server says on the connections that there are does not pass.
    pub fn hold_answers(&self) {
        self.held.lock().unwrap().answers = 0..self.came.load(Ordering::SeqCst);
    }

    /// What was held passes.
    pub fn release(&self) {
        *self.held.lock().unwrap() = Held::default();
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

/// The numbers of connections on which nothing passes.
#[derive(Debug, Default)]
struct Held {
    both: Range<usize>,
    answers: Range<usize>,
}

impl Held {
    fn holds(&self, number: usize, says: Says) -> bool {
        self.both.contains(&number) || (says == Says::Server && self.answers.contains(&number))
    }
}

/// Whose bytes pass.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Says {
    Client,
    Server,
}

fn copy(mut from: TcpStream, mut to: TcpStream, (number, says, held): (usize, Says, &Mutex<Held>)) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        while held.lock().unwrap().holds(number, says) {
            std::thread::sleep(Duration::from_millis(10));
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Both).ok();
}
