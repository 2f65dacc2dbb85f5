//! The templates of a batch: each that its updates use stands in it once, and updates name it by its number. A batch needs
//! nothing of those before it, so sender and receiver have no table to keep in step.

use std::{collections::HashMap, sync::Arc};

use super::{
    book::{Asked, TEMPLATES_MAX},
    codec::WireError,
    columns::{Reader, put_number},
    template::{TEMPLATE_OCTETS_MAX, Template},
};

/// Appends the templates of these clients, and who asks by which.
pub(super) fn put<'a>(asked: &(impl Iterator<Item = &'a Asked> + Clone), out: &mut Vec<u8>) {
    let mut numbers: HashMap<&Template, u64> = HashMap::new();
    let mut listed: Vec<&Template> = Vec::new();
    // A book holds no more templates than a batch may have: the bound is for callers that made theirs otherwise.
    for template in asked.clone().flatten().flatten() {
        if listed.len() < TEMPLATES_MAX && !numbers.contains_key(&**template) {
            listed.push(template);
            numbers.insert(template, listed.len() as u64);
        }
    }
    put_number(listed.len() as u64, out);
    for template in &listed {
        put_number(template.octets().len() as u64, out);
        out.extend_from_slice(template.octets());
    }
    for form in 0..2 {
        for asked in asked.clone() {
            let template = asked.get(form).and_then(Option::as_deref);
            put_number(template.and_then(|template| numbers.get(template)).copied().unwrap_or(0), out);
        }
    }
}

/// Reads the templates of so many clients.
pub(super) fn read(count: usize, rest: &mut Reader<'_>) -> Result<Vec<Asked>, WireError> {
    let mut listed: Vec<Arc<Template>> = Vec::new();
    for _ in 0..rest.length(TEMPLATES_MAX)? {
        let length = rest.length(TEMPLATE_OCTETS_MAX)?;
        listed.push(Arc::new(Template::decode(rest.take(length)?)?));
    }
    // Two octets a client follow at least: no more room is made than what came can fill.
    if count > rest.0.len() / 2 {
        return Err(WireError::CutShort);
    }
    let mut all: Vec<Asked> = vec![[None, None]; count];
    for form in 0..2 {
        for asked in &mut all {
            let number = rest.length(listed.len())?;
            let template = number.checked_sub(1).and_then(|at| listed.get(at));
            if let Some(slot) = asked.get_mut(form) {
                *slot = template.cloned();
            }
        }
    }
    Ok(all)
}
