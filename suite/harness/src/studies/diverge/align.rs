//! Which of the tensors that an engine recorded are the layers of a graph.

/// For each of `layers` the place, among as many as `recorded`, of the one that is its result, where
/// that is certain. `same` says whether a layer and a recorded tensor look alike.
///
/// Both are in the order of computation, so that what belongs together does not cross. Of all ways to
/// match as many as possible, a pair is taken only where it is part of every one: with several tensors
/// that may be a layer's, or several layers that may be a tensor's, there is none.
pub(crate) fn align(
    layers: usize,
    recorded: usize,
    same: impl Fn(usize, usize) -> bool,
) -> Vec<Option<usize>> {
    // The most pairs of the first layers and tensors, and of those from some place on.
    let mut before = vec![vec![0_usize; recorded + 1]; layers + 1];
    for layer in 0..layers {
        for place in 0..recorded {
            let pair = before[layer][place] + usize::from(same(layer, place));
            before[layer + 1][place + 1] = pair
                .max(before[layer][place + 1])
                .max(before[layer + 1][place]);
        }
    }
    let mut from = vec![vec![0_usize; recorded + 1]; layers + 1];
    for layer in (0..layers).rev() {
        for place in (0..recorded).rev() {
            let pair = from[layer + 1][place + 1] + usize::from(same(layer, place));
            from[layer][place] = pair.max(from[layer + 1][place]).max(from[layer][place + 1]);
        }
    }
    let most = before[layers][recorded];
    let certain = |layer: usize| {
        let without = (0..=recorded).map(|place| before[layer][place] + from[layer + 1][place]);
        if without.max() == Some(most) {
            return None;
        }
        let mut places = (0..recorded).filter(|&place| {
            same(layer, place) && before[layer][place] + 1 + from[layer + 1][place + 1] == most
        });
        match (places.next(), places.next()) {
            (Some(place), None) => Some(place),
            _ => None,
        }
    };
    (0..layers).map(certain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters look alike where they are the same.
    fn found(layers: &str, recorded: &str) -> Vec<Option<usize>> {
        let (layers, recorded) = (layers.as_bytes(), recorded.as_bytes());
        align(layers.len(), recorded.len(), |layer, place| {
            layers[layer] == recorded[place]
        })
    }

    #[test]
    fn what_is_recorded_besides_is_passed_over() {
        assert_eq!(found("abc", "abc"), [Some(0), Some(1), Some(2)]);
        assert_eq!(found("abc", "xaxxbxcx"), [Some(1), Some(4), Some(6)]);
        assert_eq!(found("aba", "axbya"), [Some(0), Some(2), Some(4)]);
        assert_eq!(found("aa", "aa"), [Some(0), Some(1)]);
    }

    #[test]
    fn a_layer_that_was_not_recorded_costs_no_other() {
        assert_eq!(found("abc", "ac"), [Some(0), None, Some(1)]);
        assert_eq!(found("abc", ""), [None, None, None]);
        assert_eq!(found("", "abc"), []);
    }

    #[test]
    fn nothing_is_guessed() {
        // Either of two tensors, either of two layers, and pairs that cross.
        assert_eq!(found("abc", "abbc"), [Some(0), None, Some(3)]);
        assert_eq!(found("abbc", "abc"), [Some(0), None, None, Some(2)]);
        assert_eq!(found("abcd", "acbd"), [Some(0), None, None, Some(3)]);
    }
}
