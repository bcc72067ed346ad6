//! The configuration's structs and enums, read from their source: what serde and the compiler do not keep, the doc
//! comments, is there.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use syn::{Attribute, Expr, GenericArgument, Item, Lit, Meta, PathArguments, Type};

/// The structs, enums and lists of `src/config`.
pub(super) struct Source {
    structs: HashMap<String, syn::ItemStruct>,
    enums: HashMap<String, syn::ItemEnum>,
    lists: HashMap<String, Vec<String>>,
}

/// A field of a struct.
pub(super) struct Field {
    pub(super) name: String,
    /// Its type, without `Option`.
    pub(super) type_name: String,
    /// The paragraphs of its doc comment, joined.
    pub(super) doc: String,
}

impl Source {
    /// Reads every file of `src/config`, tests excepted.
    pub(super) fn read() -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config");
        let mut source = Self {
            structs: HashMap::new(),
            enums: HashMap::new(),
            lists: HashMap::new(),
        };
        for entry in fs::read_dir(directory).expect("src/config") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("text");
                let file = syn::parse_file(&text).expect("Rust");
                file.items.into_iter().for_each(|item| source.take(item));
            }
        }
        source
    }

    fn take(&mut self, item: Item) {
        match item {
            Item::Struct(found) => {
                self.structs.insert(found.ident.to_string(), found);
            }
            Item::Enum(found) => {
                self.enums.insert(found.ident.to_string(), found);
            }
            Item::Const(found) => {
                if let Expr::Array(array) = *found.expr {
                    let words = array.elems.iter().filter_map(text_of).collect();
                    self.lists.insert(found.ident.to_string(), words);
                }
            }
            _ => {}
        }
    }

    /// The doc comment of a struct.
    pub(super) fn doc(&self, name: &str) -> String {
        doc(&self.structs[name].attrs)
    }

    /// The fields of a struct, in their order.
    pub(super) fn fields(&self, name: &str) -> Vec<Field> {
        let found = self.structs.get(name);
        let fields = found.unwrap_or_else(|| panic!("src/config has no struct {name}"));
        let field = |field: &syn::Field| Field {
            name: field.ident.as_ref().expect("a name").to_string(),
            type_name: type_name(&field.ty),
            doc: doc(&field.attrs),
        };
        fields.fields.iter().map(field).collect()
    }

    /// The variants of an enum with their doc comments, none if there is no such enum.
    pub(super) fn variants(&self, name: &str) -> Option<Vec<(String, String)>> {
        let variants = self.enums.get(name)?.variants.iter();
        let lowercase = |variant: &syn::Variant| variant.ident.to_string().to_lowercase();
        Some(
            variants
                .map(|variant| (lowercase(variant), doc(&variant.attrs)))
                .collect(),
        )
    }

    /// The texts of a constant array.
    pub(super) fn list(&self, name: &str) -> &[String] {
        self.lists
            .get(name)
            .unwrap_or_else(|| panic!("src/config has no list {name}"))
    }
}

fn text_of(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes
        .iter()
        .filter_map(|attribute| match &attribute.meta {
            Meta::NameValue(pair) if pair.path.is_ident("doc") => text_of(&pair.value),
            _ => None,
        });
    lines
        .map(|line| line.trim().to_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// `Duration`, `Vec<String>`; `Option` is taken off.
fn type_name(found: &Type) -> String {
    let Type::Path(path) = found else {
        panic!("a field has a type that is no path");
    };
    let last = path.path.segments.last().expect("a type");
    let name = last.ident.to_string();
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return name;
    };
    let Some(GenericArgument::Type(inner)) = arguments.args.first() else {
        return name;
    };
    match name.as_str() {
        "Option" => type_name(inner),
        _ => format!("{name}<{}>", type_name(inner)),
    }
}
