//! The shape of a file: which tokens are test code, where functions begin and end.

use super::lexer::{Kind, Token};

#[derive(Clone, Debug)]
pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

/// For each token, whether it belongs to an item under `#[cfg(test)]` or `#[test]`; a file with `#![cfg(test)]`
/// is test code as a whole.
pub fn test_code(tokens: &[Token]) -> Vec<bool> {
    let mut test = vec![false; tokens.len()];
    let mut at = 0;
    while at < tokens.len() {
        let Some((inner, body)) = attribute(tokens, at) else {
            at += 1;
            continue;
        };
        let end = body.1 + 1;
        if is_test_attribute(&tokens[body.0..body.1]) {
            if inner {
                return vec![true; tokens.len()];
            }
            let item_end = item_end(tokens, end);
            test[at..item_end].fill(true);
        }
        at = end;
    }
    test
}

/// Modules declared as `#[cfg(test)] mod name;`.
pub fn test_modules(tokens: &[Token], test: &[bool]) -> Vec<String> {
    let declared = tokens
        .windows(3)
        .enumerate()
        .filter(|(at, window)| test[*at] && window[0].is("mod") && window[1].kind == Kind::Word && window[2].is(";"));
    declared.map(|(_, window)| window[1].text.clone()).collect()
}

/// The attribute that starts at `at`: whether it is an inner one, and the range between its brackets.
pub fn attribute(tokens: &[Token], at: usize) -> Option<(bool, (usize, usize))> {
    if !tokens[at].is("#") {
        return None;
    }
    let inner = tokens.get(at + 1)?.is("!");
    let open = at + 1 + usize::from(inner);
    tokens.get(open).filter(|token| token.is("["))?;
    Some((inner, (open + 1, closing(tokens, open))))
}

fn is_test_attribute(body: &[Token]) -> bool {
    let last_of_path = body.iter().take_while(|t| t.kind == Kind::Word || t.is("::")).last();
    let word = |text: &str| body.iter().any(|token| token.is(text));
    match last_of_path {
        Some(name) if name.is("test") => true,
        Some(name) if name.is("cfg") => word("test") && !word("not"),
        _ => false,
    }
}

/// The index of the bracket that closes the one at `open`.
fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_i32;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        if token.kind == Kind::Punctuation {
            match token.text.as_str() {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len().saturating_sub(1)
}

/// Where the item that starts at `at` (further attributes included) ends.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    while at < tokens.len() {
        if tokens[at].is(";") {
            return at + 1;
        }
        if tokens[at].is("{") {
            return closing(tokens, at) + 1;
        }
        at = if tokens[at].is("(") || tokens[at].is("[") { closing(tokens, at) + 1 } else { at + 1 };
    }
    tokens.len()
}

/// All functions with a body.
pub fn functions(tokens: &[Token]) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        if !(pair[0].is("fn") && pair[1].kind == Kind::Word) {
            continue;
        }
        let end = item_end(tokens, at) - 1;
        if tokens[end].is("}") {
            let (name, line) = (pair[1].text.clone(), pair[0].line);
            found.push(Function { name, line, lines: tokens[end].line - line + 1 });
        }
    }
    found
}

#[test]
fn knows_test_code_and_functions() {
    let tokens = super::lexer::lex(
        "fn a(x: [u8; 2]) -> u8 { { 1 } }\n#[cfg(test)]\n#[path = \"x\"]\nmod t {\n fn b() {\n}\n}\nfn c();\n#[cfg(not(test))] fn d() {}",
    );
    let test = test_code(&tokens);
    let in_test = |name: &str| test[tokens.iter().position(|token| token.is(name)).unwrap()];
    assert_eq!(["a", "b", "c", "d"].map(in_test), [false, true, false, false]);
    let functions = functions(&tokens);
    let lines: Vec<_> = functions.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
    assert_eq!(lines, [("a", 1, 1), ("b", 5, 2), ("d", 9, 1)]);
}
