//! A small bank with a race in it: a transfer looks at the balance with one call and books it with another. On threads this goes
//! well nearly always. A seed finds the moment at which it does not, and shows it as often as you like.
//!
//! `cargo run --release --example simulated` looks for a seed, shows what happened there, repeats it, and holds the same seeds
//! against a bank that looks and books in one step. `cargo run --release --example simulated 17` shows one seed.
use colloquium::simulation::{Failure, FailureKind, Outcome};
use colloquium::{Address, Context, ReplyTo, Runtime, Simulation, sometimes};

enum Request {
    Balance(ReplyTo<i64>),
    Withdraw(i64, ReplyTo<()>),
    /// Looks and books in one step; tells whether there was enough.
    TryWithdraw(i64, ReplyTo<bool>),
}

async fn account(mut ctx: Context<Request>, mut balance: i64) {
    loop {
        match ctx.recv().await {
            Request::Balance(reply_to) => drop(reply_to.send(balance)),
            Request::Withdraw(amount, reply_to) => {
                balance -= amount;
                let _ = reply_to.send(());
            }
            Request::TryWithdraw(amount, reply_to) => {
                let enough = balance >= amount;
                balance -= if enough { amount } else { 0 };
                let _ = reply_to.send(enough);
            }
        }
    }
}

/// How a customer takes money out.
#[derive(Clone, Copy)]
enum Teller {
    /// Two calls: between them, another customer may come.
    LooksThenBooks,
    BooksIfEnough,
}

type Errors = Box<dyn std::error::Error + Send + Sync>;

/// Takes 60 out, if there is as much; customers come at random moments of a long day.
async fn customer(mut ctx: Context<()>, account: Address<Request>, teller: Teller) -> Result<(), Errors> {
    const DAY: std::time::Duration = std::time::Duration::from_millis(1);
    ctx.sleep(ctx.rng().duration(DAY / 10..DAY)).await;
    let enough = match teller {
        Teller::LooksThenBooks => {
            let enough = ctx.call(&account, Request::Balance).await? >= 60;
            if enough {
                ctx.call(&account, |reply_to| Request::Withdraw(60, reply_to)).await?;
            }
            enough
        }
        Teller::BooksIfEnough => ctx.call(&account, |reply_to| Request::TryWithdraw(60, reply_to)).await?,
    };
    sometimes!("a customer was turned away", !enough);
    Ok(())
}

/// A day of the bank: two customers, one account. It may never be overdrawn.
async fn day(runtime: Runtime, teller: Teller) {
    let account = runtime.build().label("account").spawn(|ctx| account(ctx, 100)).expect("room");
    let customers = [1, 2].map(|number| {
        let account = account.clone();
        let builder = runtime.build().label(format!("customer {number}"));
        builder.spawn(move |ctx| customer(ctx, account, teller)).expect("room")
    });
    for customer in customers {
        assert!(customer.ended().await.is_orderly(), "a customer was not served");
    }
    let balance = account.call(Request::Balance).await.expect("an answer");
    assert!(balance >= 0, "overdrawn: {balance}");
}

fn simulate(seed: u64, teller: Teller) -> Result<Outcome<()>, Failure> {
    Simulation::new(seed).run(async |runtime| day(runtime, teller).await)
}

const SEEDS: u64 = 2_000;

fn main() {
    // What a failing seed says is shown below; the panic itself need not be.
    std::panic::set_hook(Box::new(|_| {}));
    if let Some(seed) = std::env::args().nth(1).and_then(|seed| seed.parse().ok()) {
        return match simulate(seed, Teller::LooksThenBooks) {
            Ok(outcome) => println!("seed {seed}: nothing wrong in {} steps\n{}", outcome.steps, outcome.trace),
            Err(failure) => println!("{failure}"),
        };
    }
    let found = (0..SEEDS).find_map(|seed| simulate(seed, Teller::LooksThenBooks).err());
    let failure = found.expect("the race is found");
    assert!(matches!(failure.kind(), FailureKind::Panicked(said) if said.contains("overdrawn")));
    println!("{failure}");
    let again = simulate(failure.seed(), Teller::LooksThenBooks).expect_err("the seed repeats it");
    assert_eq!((again.hash(), again.steps()), (failure.hash(), failure.steps()));
    println!("seed {} repeats it: hash {:016x} both times", failure.seed(), failure.hash());
    let outcomes: Vec<_> = (0..SEEDS).map(|seed| simulate(seed, Teller::BooksIfEnough)).collect();
    let turned_away = outcomes.iter().flatten().filter(|outcome| outcome.marks["a customer was turned away"]).count();
    assert!(outcomes.iter().all(Result::is_ok) && turned_away > 0);
    println!("in one step: {SEEDS} seeds without a fault, and in {turned_away} of them a customer was turned away");
}
