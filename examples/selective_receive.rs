//! A process takes out of its mailbox what it can use now: `cargo run --example selective_receive`
//!
//! A help desk is sent tickets before it opens. It waits for the key first, then serves urgent tickets before others, and
//! in the midst of one it waits for a price while more tickets come in. Nothing it passes over is lost or reordered.
use colloquium::prelude::*;
use std::time::Duration;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

enum Msg {
    Open,
    Ordinary(&'static str),
    Urgent(&'static str),
    Price { ticket: &'static str, euros: u32 },
    Close,
}

async fn desk(mut ctx: Context<Msg>, supplier: Address<Enquiry>) -> Outcome {
    // Which messages make sense depends on the state one is in. Before the desk is open only the key does, and there is
    // no need for a list of what came too early: the mailbox is that list.
    ctx.recv_matching(|msg| matches!(msg, Msg::Open)).await;
    println!("open");
    loop {
        // With a time-out of zero: an urgent one if there is one, and no waiting. Each such look goes over all that is
        // there, so that it suits a mailbox of dozens; a stream of thousands wants a process for each priority.
        let urgent = ctx.recv_matching_timeout(Duration::ZERO, |msg| matches!(msg, Msg::Urgent(_))).await;
        let msg = match urgent {
            Ok(msg) => msg,
            Err(_) => ctx.recv().await,
        };
        match msg {
            Msg::Urgent(ticket) => println!("urgent:   {ticket}"),
            Msg::Ordinary(ticket) => {
                let euros = price(&mut ctx, &supplier, ticket).await?;
                println!("ordinary: {ticket}, {euros} euros");
            }
            Msg::Close => return Ok(()),
            // Nothing else is expected, and a message nobody takes would lie in the mailbox for ever: take it.
            Msg::Open | Msg::Price { .. } => {}
        }
    }
}

/// Asks, and waits for the one answer to this question. What else comes meanwhile waits in its place.
///
/// To send and receive by hand shows how it is done; `ctx.call` does this and also sees the supplier's end.
async fn price(ctx: &mut Context<Msg>, supplier: &Address<Enquiry>, ticket: &'static str) -> Result<u32, String> {
    let enquiry = Enquiry { ticket, reply_to: ctx.address() };
    supplier.send(enquiry).map_err(|error| error.to_string())?;
    let is_answer = |msg: &Msg| matches!(msg, Msg::Price { ticket: of, .. } if *of == ticket);
    match ctx.recv_matching_timeout(Duration::from_secs(5), is_answer).await {
        Ok(Msg::Price { euros, .. }) => Ok(euros),
        _ => Err(format!("no price for {ticket}")),
    }
}

struct Enquiry {
    ticket: &'static str,
    reply_to: Address<Msg>,
}

async fn supplier(mut ctx: Context<Enquiry>) -> Outcome {
    loop {
        let Enquiry { ticket, reply_to } = ctx.recv().await;
        // Comes in ahead of the answer, and does not get in its way.
        if ticket == "a new lamp" {
            reply_to.send(Msg::Urgent("the lamp burns"))?;
        }
        reply_to.send(Msg::Price { ticket, euros: 3 * ticket.len() as u32 })?;
    }
}

fn main() -> Outcome {
    let runtime = Runtime::new()?;
    let supplier = runtime.spawn(supplier)?;
    let desk = runtime.spawn(|ctx| desk(ctx, supplier))?;

    desk.send(Msg::Ordinary("a new lamp"))?;
    desk.send(Msg::Ordinary("a chair"))?;
    desk.send(Msg::Urgent("water in the cellar"))?;
    desk.send(Msg::Ordinary("a table"))?;
    desk.send(Msg::Open)?;
    desk.send(Msg::Close)?;

    let reason = runtime.block_on(desk.ended());
    if reason != ExitReason::Normal {
        return Err(reason.into());
    }
    println!("closed");
    Ok(())
}
