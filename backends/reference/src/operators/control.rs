//! Branches and loops, whose bodies are graphs.

use firstpass_probe::{Error, Result};

use crate::{
    array::Array,
    kind::Kind,
    operators::{Call, Table, movement::concatenated},
    value::Value,
};

pub const TABLE: Table = &[("If", branch), ("Loop", repeat)];

/// More than any loop of a model runs; one without an end must end here.
const MAX_TURNS: i64 = 1_000_000;

fn branch(call: &Call<'_>) -> Result<Vec<Value>> {
    let name = if call.number(0)? != 0.0 {
        "then_branch"
    } else {
        "else_branch"
    };
    call.scope.run(name, Vec::new(), call.context)
}

fn one(value: i64, kind: Kind) -> Value {
    let array = Array {
        dims: vec![],
        values: vec![value],
    };
    Value::whole(array, kind)
}

fn repeat(call: &Call<'_>) -> Result<Vec<Value>> {
    let turns = match call.optional(0) {
        Some(_) => call.number(0)? as i64,
        None => MAX_TURNS,
    };
    let mut goes_on = match call.optional(1) {
        Some(_) => call.number(1)? != 0.0,
        None => true,
    };
    let carried = 2..call.inputs.len();
    let mut state: Vec<Value> = carried
        .map(|position| call.value(position).cloned())
        .collect::<Result<_>>()?;
    let mut gathered: Vec<Vec<Value>> = Vec::new();
    let mut turn = 0;
    while goes_on && turn < turns {
        if turn == MAX_TURNS {
            return Err(Error::unsupported(format!("a loop of {MAX_TURNS} turns")));
        }
        let mut inputs = vec![one(turn, Kind::I64), one(1, Kind::Bool)];
        inputs.extend(state.iter().cloned());
        let mut outputs = call.scope.run("body", inputs, call.context)?.into_iter();
        goes_on = match outputs.next() {
            Some(Value::Whole(truth)) => truth.array.values.first() == Some(&1),
            _ => {
                return Err(Error::engine(
                    "the body of a loop says not whether it goes on",
                ));
            }
        };
        state = outputs.by_ref().take(state.len()).collect();
        let more: Vec<Value> = outputs.collect();
        gathered.resize(more.len(), Vec::new());
        for (all, value) in gathered.iter_mut().zip(more) {
            let dims = [&[1], value.dims()].concat();
            all.push(value.moved(|places| Ok(Array { dims, ..places }))?);
        }
        turn += 1;
    }
    let wanted = call.node.output.len().saturating_sub(state.len());
    if gathered.len() < wanted {
        return Err(Error::unsupported("a loop that never turns gathers values"));
    }
    for all in &gathered {
        let parts: Vec<&Value> = all.iter().collect();
        state.push(concatenated(&parts, 0)?);
    }
    Ok(state)
}
