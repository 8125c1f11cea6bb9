//! The service as its users see it: over HTTP, from its start to its orderly stop.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

/// What has not come by then will not come.
const LONG: Duration = Duration::from_secs(60);

/// The program, stopped when the test is over.
struct Service {
    program: Child,
    address: String,
}

impl Service {
    fn start() -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_webhook"));
        let mut program = program.arg("127.0.0.1:0").stdout(Stdio::piped()).spawn().expect("it can be run");
        let mut line = String::new();
        let said = program.stdout.take().expect("it is piped");
        BufReader::new(said).read_line(&mut line).expect("it says where it is");
        let address = line.trim().strip_prefix("http://").expect("an address").to_owned();
        Self { program, address }
    }

    /// Status and body.
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).expect("somebody listens");
        stream.set_read_timeout(Some(LONG)).expect("a bound");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("it is read");
        stream.write_all(body).expect("it is read");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, answer[end + 4..].to_vec())
    }

    fn text(&self, path: &str) -> String {
        let (status, body) = self.ask("GET", path, b"");
        assert_eq!(status, 200, "{path}");
        String::from_utf8(body).expect("text")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.program.kill());
        drop(self.program.wait());
    }
}

/// An image of stripes, so wide and high.
fn image(width: usize, height: usize) -> Vec<u8> {
    let mut image = format!("P5\n{width} {height}\n255\n").into_bytes();
    image.extend((0..width * height).map(|point| 255 * u8::from(point % width % 2 == 1)));
    image
}

#[test]
fn uploads_are_resized_and_what_is_no_image_is_refused() {
    let service = Service::start();
    let (status, small) = service.ask("POST", "/upload/7", &image(1024, 6));
    assert_eq!((status, &small[..13], small.len()), (200, &b"P5\n512 3\n255\n"[..], 13 + 512 * 3));
    assert!(small[13..].iter().all(|point| *point == 0), "every second column, and these are black");
    // An image whose points are not there can never be handled.
    for bytes in [&b"P5\n512 3\n255\nx"[..], b"GIF89a", b""] {
        let (status, body) = service.ask("POST", "/upload/7", bytes);
        assert_eq!((status, body.len()), (422, 0), "{bytes:?}");
    }
    assert_eq!(service.ask("POST", "/upload/seven", b"").0, 400);
    assert_eq!(service.ask("POST", "/upload/7", &image(3, 1)).0, 200, "it goes on");
}

#[test]
fn the_tree_is_shown_as_text_and_as_json() {
    let service = Service::start();
    assert_eq!(service.ask("POST", "/upload/1", &image(2, 2)).0, 200);
    // The group's part is left out, with a word about it, if it does not come in a fifth of a second: on a machine that has other things to do.
    let text = (0..100).map(|_| service.text("/tree")).find(|text| !text.contains("in time")).expect("whole, once");
    for shown in ["TREE", "root", "resizers  consumer group", "consumers", "keeper", "conversations", "dead letters"] {
        assert!(text.contains(shown), "{shown} in\n{text}");
    }
    let mut trees =
        (0..100).map(|_| colloquium::SupervisionTree::from_json(&service.text("/tree.json")).expect("a tree"));
    let whole = |json: &colloquium::SupervisionTree| json.attention.iter().all(|told| !told.text.contains("in time"));
    let json = trees.find(whole).expect("whole, once");
    let root = &json.trees[0];
    assert_eq!((json.trees.len(), &*root.id, &*root.children[0].id), (1, "root", "resizers"));
    let group = &root.children[0];
    let consumers = group.children.iter().find(|node| &*node.id == "consumers").expect("the consumers' supervisor");
    assert_eq!(consumers.children.len(), 8);
    assert!(json.attention.is_empty(), "{:?}", json.attention);
}

/// Many at once: each is answered by its image or by a refusal, and those of one user one after the other.
#[test]
fn a_crowd_is_answered_one_by_one() {
    let service = Service::start();
    let (answer, answers) = channel();
    std::thread::scope(|scope| {
        for user in 0..32 {
            let (service, answer) = (&service, answer.clone());
            scope.spawn(move || {
                let status = service.ask("POST", &format!("/upload/{}", user % 4), &image(64, 64)).0;
                answer.send(status).expect("the test waits");
            });
        }
    });
    let statuses: Vec<u16> = answers.try_iter().collect();
    assert_eq!(statuses, [200; 32]);
}

/// Ctrl-C: the program ends in order, with nothing to complain of.
#[cfg(unix)]
#[test]
fn ctrl_c_ends_it_in_order() {
    let mut service = Service::start();
    assert_eq!(service.ask("POST", "/upload/1", &image(2, 2)).0, 200);
    let told = Command::new("kill").args(["-INT", &service.program.id().to_string()]).status();
    assert!(told.expect("it can be told").success());
    assert!(service.program.wait().expect("it ends").success());
}
