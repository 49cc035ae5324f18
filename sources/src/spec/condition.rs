//! The expressions of `%if`: numbers, strings, comparisons, `&&`, `||`, `!` and parentheses.

use super::expand::UnknownValueError;

/// The deepest nesting of parentheses.
const MAX_DEPTH: usize = 32;

/// Whether an expression is true; its macros are expanded already.
pub(super) fn holds(text: &str) -> Result<bool, UnknownValueError> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0 };
    let value = parser.or()?;
    if parser.at < tokens.len() {
        return Err(odd(text));
    }
    Ok(value.is_true())
}

fn odd(text: &str) -> UnknownValueError {
    UnknownValueError(format!("the condition `{}`", rpmfarm_core::name::shown(text)))
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Value(Value),
    Sign(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Number(i64),
    Text(String),
}

impl Value {
    const fn is_true(&self) -> bool {
        match self {
            Self::Number(number) => *number != 0,
            Self::Text(text) => !text.is_empty(),
        }
    }
}

const SIGNS: [&str; 16] =
    ["&&", "||", "==", "!=", ">=", "<=", ">", "<", "!", "(", ")", "+", "-", "*", "/", "?"];

fn tokens(text: &str) -> Result<Vec<Token>, UnknownValueError> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('"') {
            let (value, after) = inside.split_once('"').ok_or_else(|| odd(text))?;
            tokens.push(Token::Value(Value::Text(value.to_owned())));
            rest = after;
        } else if rest.starts_with(|c: char| c.is_ascii_digit()) {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let number = rest[..end].parse().map_err(|_| odd(text))?;
            tokens.push(Token::Value(Value::Number(number)));
            rest = &rest[end..];
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            tokens.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        } else {
            return Err(odd(text));
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn accept_sign(&mut self, signs: &[&str]) -> Option<&'static str> {
        match self.tokens.get(self.at) {
            Some(Token::Sign(sign)) if signs.contains(sign) => {
                self.at += 1;
                Some(sign)
            }
            _ => None,
        }
    }

    fn or(&mut self) -> Result<Value, UnknownValueError> {
        let mut left = self.and()?;
        while self.accept_sign(&["||"]).is_some() {
            let right = self.and()?;
            left = truth(left.is_true() || right.is_true());
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Value, UnknownValueError> {
        let mut left = self.comparison()?;
        while self.accept_sign(&["&&"]).is_some() {
            let right = self.comparison()?;
            left = truth(left.is_true() && right.is_true());
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Value, UnknownValueError> {
        let left = self.sum()?;
        let Some(sign) = self.accept_sign(&["==", "!=", ">=", "<=", ">", "<"]) else {
            return Ok(left);
        };
        let right = self.sum()?;
        let order = match (&left, &right) {
            (Value::Number(a), Value::Number(b)) => a.cmp(b),
            (Value::Text(a), Value::Text(b)) => a.cmp(b),
            _ => return Err(UnknownValueError("a number compared with text".to_owned())),
        };
        Ok(truth(match sign {
            "==" => order.is_eq(),
            "!=" => order.is_ne(),
            ">=" => order.is_ge(),
            "<=" => order.is_le(),
            ">" => order.is_gt(),
            _ => order.is_lt(),
        }))
    }

    fn sum(&mut self) -> Result<Value, UnknownValueError> {
        let mut left = self.unary()?;
        while let Some(sign) = self.accept_sign(&["+", "-", "*", "/"]) {
            let right = self.unary()?;
            let result = match (&left, sign, &right) {
                (Value::Number(a), "+", Value::Number(b)) => a.checked_add(*b),
                (Value::Number(a), "-", Value::Number(b)) => a.checked_sub(*b),
                (Value::Number(a), "*", Value::Number(b)) => a.checked_mul(*b),
                (Value::Number(a), "/", Value::Number(b)) => a.checked_div(*b),
                _ => None,
            };
            left = Value::Number(result.ok_or_else(|| UnknownValueError("arithmetic".to_owned()))?);
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Value, UnknownValueError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(UnknownValueError("a condition nested too deep".to_owned()));
        }
        let value = if self.accept_sign(&["!"]).is_some() {
            truth(!self.unary()?.is_true())
        } else if self.accept_sign(&["("]).is_some() {
            let value = self.or()?;
            self.accept_sign(&[")"])
                .ok_or_else(|| UnknownValueError("an open parenthesis".to_owned()))?;
            value
        } else {
            match self.tokens.get(self.at) {
                Some(Token::Value(value)) => {
                    self.at += 1;
                    value.clone()
                }
                _ => return Err(UnknownValueError("a condition without a value".to_owned())),
            }
        };
        self.depth -= 1;
        Ok(value)
    }
}

const fn truth(value: bool) -> Value {
    Value::Number(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        for (text, holds_) in [
            ("09 >= 9", true),
            ("0 || 010 > 8", true),
            ("!0 && (1 == 2)", false),
            ("\"a\" == \"a\"", true),
            ("\"\"", false),
            ("1 + 1 == 2", true),
        ] {
            assert_eq!(holds(text), Ok(holds_), "{text}");
        }
        for text in ["", "a", "1 == \"1\"", "(1", "1 1", "\"x", &"!".repeat(99)] {
            assert!(holds(text).is_err(), "{text}");
        }
    }
}
