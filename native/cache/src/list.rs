//! Doubly linked lists through nodes that lie in one vector: links are numbers.

/// No node.
pub const NIL: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
pub struct Link {
    pub prev: u32,
    pub next: u32,
}

impl Link {
    pub const OUT: Link = Link { prev: NIL, next: NIL };
}

/// Gives a node's link for this list.
pub trait Linked {
    fn link(&mut self, node: u32) -> &mut Link;
}

#[derive(Clone, Copy, Debug)]
pub struct List {
    /// The newest.
    pub head: u32,
    /// The oldest.
    pub tail: u32,
}

impl Default for List {
    fn default() -> List {
        List { head: NIL, tail: NIL }
    }
}

impl List {
    pub fn push(&mut self, links: &mut impl Linked, node: u32) {
        *links.link(node) = Link { prev: NIL, next: self.head };
        match self.head {
            NIL => self.tail = node,
            head => links.link(head).prev = node,
        }
        self.head = node;
    }

    pub fn unlink(&mut self, links: &mut impl Linked, node: u32) {
        let Link { prev, next } = std::mem::replace(links.link(node), Link::OUT);
        match prev {
            NIL => self.head = next,
            prev => links.link(prev).next = next,
        }
        match next {
            NIL => self.tail = prev,
            next => links.link(next).prev = prev,
        }
    }

    pub fn touch(&mut self, links: &mut impl Linked, node: u32) {
        if self.head != node {
            self.unlink(links, node);
            self.push(links, node);
        }
    }
}
