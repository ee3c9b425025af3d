//! Functions of the values at one place, several one after the other on a few values at a time: what lies in between
//! stays in the first-level cache, and is never written as a tensor.

use std::{cell::RefCell, sync::Arc};

use super::{
    binary::{OfTwo, Operand},
    channels::Scaled,
    unary::OfOne,
};
use crate::{kernels::Isa, room::Room};

/// Values that are treated at a time.
const RUN: usize = 512;

/// A function of the values at one place.
#[derive(Debug, Clone)]
pub enum Pointwise {
    OfOne(OfOne),
    OfTwo(OfTwo),
    /// Of one, by channel.
    Scaled(Arc<Scaled>),
}

/// Where an operand comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// 0 is what the program is given; others are what its instructions have computed, from 1 on.
    Computed(usize),
    /// Another tensor of the same shape.
    Tensor(usize),
    /// A constant, by channel.
    Channels(Vec<f32>),
    /// A constant.
    Number(f32),
}

#[derive(Debug, Clone)]
pub struct Instruction {
    pub function: Pointwise,
    /// As many as the function takes.
    pub operands: Vec<Source>,
}

/// Instructions, of which the last gives the result.
#[derive(Debug, Clone, Default)]
pub struct Program(Vec<Instruction>);

thread_local! {
    /// What instructions have computed, kept from pass to pass.
    static COMPUTED: RefCell<Room> = const { RefCell::new(Room::EMPTY) };
}

impl Program {
    pub fn new(instructions: Vec<Instruction>) -> Self {
        Self(instructions)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Replaces `values`, which belong to `channel` and begin at `start` in the output, by the result.
    pub fn run(
        &self,
        isa: Isa,
        channel: usize,
        start: usize,
        values: &mut [f32],
        tensors: &[&[f32]],
    ) {
        let [others @ .., last] = &self.0[..] else {
            return;
        };
        COMPUTED.with_borrow_mut(|room| {
            let room = room.floats(self.0.len() * RUN);
            for (number, values) in values.chunks_mut(RUN).enumerate() {
                let at = start + number * RUN;
                let length = values.len();
                // The last instruction writes over what the program was given.
                room[..length].copy_from_slice(values);
                for (number, instruction) in others.iter().enumerate() {
                    let (computed, out) = room.split_at_mut((number + 1) * RUN);
                    instruction.run(isa, channel, computed, tensors, at, &mut out[..length]);
                }
                last.run(isa, channel, room, tensors, at, values);
            }
        });
    }
}

impl Instruction {
    fn run(
        &self,
        isa: Isa,
        channel: usize,
        computed: &[f32],
        tensors: &[&[f32]],
        at: usize,
        out: &mut [f32],
    ) {
        let operand = |source: &Source| match *source {
            Source::Computed(number) => Operand::Values(&computed[number * RUN..][..out.len()]),
            Source::Tensor(number) => Operand::Values(&tensors[number][at..][..out.len()]),
            Source::Channels(ref values) => Operand::Number(values[channel]),
            Source::Number(value) => Operand::Number(value),
        };
        match (&self.function, &self.operands[..]) {
            (Pointwise::OfOne(function), [of]) => match operand(of) {
                Operand::Values(values) => function.apply(isa, values, out),
                Operand::Number(value) => {
                    function.apply(isa, &[value], &mut out[..1]);
                    let result = out[0];
                    out.fill(result);
                }
            },
            (Pointwise::OfTwo(function), [left, right]) => {
                function.apply(isa, operand(left), operand(right), out);
            }
            (Pointwise::Scaled(function), [of]) => {
                if let Operand::Values(values) = operand(of) {
                    function.apply(isa, channel, values, out);
                }
            }
            (function, operands) => {
                unreachable!("{function:?} of {} operands", operands.len())
            }
        }
    }
}
