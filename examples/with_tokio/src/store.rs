//! Driver: a store of numbers that speaks as much of Redis's protocol as a client needs, on tokio's sockets.
//!
//! One process listens, each connection is a process of its own, and one keeps the numbers. The listener is linked to the others:
//! when it ends, all end, and their sockets are closed.
use colloquium::{Address, Context, ExitReason, Handle, ReplyTo, SpawnError, charged};
use std::collections::BTreeMap;
use std::io;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The most parts of a command, and bytes of a part: what comes over a socket takes no more memory than that.
const MOST: usize = 1024;

/// A command, and the right to answer it in Redis's words.
type Command = (Vec<String>, ReplyTo<String>);

/// Starts a store on this listener.
///
/// # Errors
///
/// [`SpawnError`].
pub fn start(runtime: &Handle, listener: TcpListener) -> Result<Address<()>, SpawnError> {
    runtime.build().label("store").spawn(async move |mut ctx: Context<()>| -> Result<(), ExitReason> {
        let keeper = ctx.spawn_link(keep).map_err(ExitReason::error)?;
        loop {
            let (stream, _) = listener.accept().await.map_err(ExitReason::error)?;
            let keeper = keeper.clone();
            let connection = ctx.build().label("store connection").spawn(async move |mut ctx: Context<()>| {
                ctx.link(&keeper);
                // A client that goes away, or that speaks no Redis, is its own connection's business.
                let _ = converse(stream, &keeper).await;
            });
            connection.map_err(ExitReason::error)?;
        }
    })
}

/// Keeps the numbers.
async fn keep(mut ctx: Context<Command>) {
    let mut numbers = BTreeMap::<String, i64>::new();
    loop {
        let (command, reply_to) = ctx.recv().await;
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let answer = match words[..] {
            ["INCRBY", name, by] => match by.parse::<i64>() {
                Ok(by) => {
                    let number = numbers.entry(name.to_owned()).or_default();
                    *number = number.saturating_add(by);
                    format!(":{number}\r\n")
                }
                Err(_) => "-ERR not a number\r\n".to_owned(),
            },
            ["GET", name] => numbers.get(name).map_or("$-1\r\n".to_owned(), |number| {
                let number = number.to_string();
                format!("${}\r\n{number}\r\n", number.len())
            }),
            ["PING"] => "+PONG\r\n".to_owned(),
            _ => "-ERR unknown command\r\n".to_owned(),
        };
        let _ = reply_to.send(answer);
    }
}

/// Hands commands on and answers back, until the client hangs up.
async fn converse(stream: TcpStream, keeper: &Address<Command>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    // Charged, so that a client that sends without pause does not keep a worker to itself.
    while let Some(command) = charged(read_command(&mut stream)).await? {
        let answer = keeper.call(|reply_to| (command, reply_to)).await.map_err(io::Error::other)?;
        stream.get_mut().write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

/// A command is an array of strings: `*2\r\n$3\r\nGET\r\n$1\r\nn\r\n`.
async fn read_command(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Vec<String>>> {
    let Some(parts) = read_length(stream, '*').await? else { return Ok(None) };
    let mut command = Vec::new();
    for _ in 0..parts {
        let length = read_length(stream, '$').await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut part = vec![0; length + 2];
        stream.read_exact(&mut part).await?;
        part.truncate(length);
        command.push(String::from_utf8(part).map_err(io::Error::other)?);
    }
    if let Some(name) = command.first_mut() {
        name.make_ascii_uppercase();
    }
    Ok(Some(command))
}

/// A line with a mark and a length; `None` at the end.
async fn read_length(stream: &mut BufReader<TcpStream>, mark: char) -> io::Result<Option<usize>> {
    let mut line = String::new();
    // No longer than the longest that makes sense.
    (&mut *stream).take(16).read_line(&mut line).await?;
    if line.is_empty() {
        return Ok(None);
    }
    let length = line.strip_prefix(mark).and_then(|rest| rest.trim_end().parse().ok());
    length.filter(|length| *length <= MOST).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
