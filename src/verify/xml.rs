//! XML expressions, in lockstep. They compute from their arguments; none is silent.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::proof::{Checked, Pair, Proof, absent, anywhere, both, differs, empty, equal};

impl Proof<'_> {
    /// Compares XMLELEMENT and its kin.
    pub(super) fn xml(&mut self, original: &pg::XmlExpr, rewritten: &pg::XmlExpr) -> Checked {
        both!(XmlExpr, original, rewritten, {
            xpr, op, name, named_args, arg_names, args, xmloption, indent, r#type, typmod, location
        });
        anywhere(location);
        absent(xpr, "an analysed expression")?;
        equal(op, "the kind of an XML expression")?;
        equal(name, "an XML name")?;
        self.xml_attributes(named_args)?;
        empty(arg_names, "an analysed expression")?;
        self.expressions(args, "the arguments of an XML expression")?;
        equal(xmloption, "DOCUMENT or CONTENT")?;
        equal(indent, "INDENT")?;
        equal(r#type, "an analysed expression")?;
        equal(typmod, "an analysed expression")
    }

    /// Compares `value AS name` of attributes and of XMLFOREST.
    fn xml_attributes(&mut self, pair: Pair<'_, Vec<Node>>) -> Checked {
        if pair.0.len() != pair.1.len() {
            return Err(differs("XML attributes"));
        }
        for (original, rewritten) in pair.0.iter().zip(pair.1) {
            let (Some(NodeEnum::ResTarget(o)), Some(NodeEnum::ResTarget(r))) =
                (&original.node, &rewritten.node)
            else {
                return Err(differs("XML attributes"));
            };
            both!(ResTarget, o, r, { name, indirection, val, location });
            anywhere(location);
            equal(name, "an XML name")?;
            empty(indirection, "an XML attribute of this form")?;
            self.optional(val, "an XML attribute")?;
        }
        Ok(())
    }

    /// Compares XMLSERIALIZE.
    pub(super) fn xml_text(
        &mut self,
        original: &pg::XmlSerialize,
        rewritten: &pg::XmlSerialize,
    ) -> Checked {
        both!(XmlSerialize, original, rewritten, {
            xmloption, expr, type_name, indent, location
        });
        anywhere(location);
        equal(xmloption, "DOCUMENT or CONTENT")?;
        equal(indent, "INDENT")?;
        match type_name {
            (Some(original), Some(rewritten)) => self.type_name(original, rewritten)?,
            (None, _) | (_, None) => return Err(differs("XMLSERIALIZE")),
        };
        self.optional(expr, "the argument of XMLSERIALIZE")
    }
}
