//! Which operators tract runs, from its optimized graph.

use firstpass_probe::{Arithmetic, Result};
use tract_onnx::{
    prelude::{DatumType, TypedRunnableModel},
    tract_core::{
        internal::{Cost, TypedNode},
        model::TypedModel,
    },
};

use crate::tract_error;

/// The operators to which tract lowers convolutions and products of matrices: products that a gathering
/// operator (Im2Col and the like) may lay out, and kernels of their own.
const PRODUCTS: [&str; 6] = [
    "BlockedConv",
    "Conv",
    "DepthWiseConv",
    "DirectSpatialConv",
    "EinSum",
    "OptMatMul",
];

pub(crate) fn count(plan: &TypedRunnableModel) -> Result<Arithmetic> {
    let graph = plan.model();
    let mut counted = Arithmetic::new(
        "tract's optimized graph, each operator with the type that it multiplies in or else that of \
         its input",
    );
    for &id in plan.order_without_consts() {
        let node = graph.node(id);
        let name = node.op.name();
        let product = multiplies_in(graph, node)?;
        match product {
            Some(kind) if kind.is_float() => counted.float += 1,
            Some(_) => counted.integer += 1,
            None => {}
        }
        let kind = match product {
            Some(kind) => kind,
            None => {
                let outlet = node.inputs.first().copied().unwrap_or(id.into());
                graph.outlet_fact(outlet).map_err(tract_error)?.datum_type
            }
        };
        let kind = format!("{:?}", kind.unquantized()).to_lowercase();
        let label = format!("{name} {kind}");
        *counted.operators.entry(label).or_default() += 1;
    }
    Ok(counted)
}

/// The type in which one of [`PRODUCTS`] multiplies and adds, as its own account of its cost says.
fn multiplies_in(graph: &TypedModel, node: &TypedNode) -> Result<Option<DatumType>> {
    if !PRODUCTS.contains(&&*node.op.name()) {
        return Ok(None);
    }
    let inputs = graph.node_input_facts(node.id).map_err(tract_error)?;
    let costs = node.op.cost(&inputs).map_err(tract_error)?;
    Ok(costs.into_iter().find_map(|(cost, _)| match cost {
        Cost::FMA(kind) => Some(kind.unquantized()),
        _ => None,
    }))
}
