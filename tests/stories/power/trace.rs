//! What `strace` wrote, read as the operations on one directory, in the order of the trace.

use std::collections::BTreeMap;
use std::path::Path;

/// The system calls that are traced: all by which the store could change or sync a file. A call of `REFUSED` would escape the model.
pub const CALLS: &str = "trace=openat,open,creat,write,pwrite64,ftruncate,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,\
fsync,fdatasync,lseek,writev,pwritev,pwritev2,fallocate,link,linkat,copy_file_range,truncate";
const REFUSED: [&str; 8] =
    ["writev", "pwritev", "pwritev2", "fallocate", "link", "linkat", "copy_file_range", "truncate"];

/// One file, whatever its name is now.
pub type Inode = usize;

/// One operation that can be lost, or that keeps others from being lost.
#[derive(Debug, Clone)]
pub enum Operation {
    /// A name for a new file.
    Create { name: String, inode: Inode },
    /// A directory.
    Mkdir { name: String },
    /// Another name for a file; a file of that name is gone.
    Rename { from: String, to: String },
    /// No name for a file.
    Unlink { name: String },
    /// Bytes at an offset.
    Write { inode: Inode, offset: u64, bytes: Vec<u8> },
    /// A length.
    Truncate { inode: Inode, length: u64 },
    /// fsync or fdatasync of a file that began when this many operations were done.
    SyncFile { inode: Inode, began: usize },
    /// fsync of the directory.
    SyncDirectory { began: usize },
    /// The process told others that so many batches are durable.
    Told(u64),
}

/// The operations of several traces, one after the other, on the directory `root`.
pub struct Recorder {
    root: String,
    pub operations: Vec<Operation>,
    /// Names and files as the kernel has them.
    names: BTreeMap<String, Inode>,
    inodes: usize,
    /// Where `write` goes on, by process and descriptor.
    offsets: BTreeMap<(String, u64), u64>,
}

/// A call with its result; `began` is the number of operations when it began.
struct Call {
    process: String,
    name: String,
    arguments: Vec<String>,
    result: i64,
    began: usize,
}

impl Recorder {
    pub fn new(root: &Path) -> Self {
        let root = root.canonicalize().unwrap().display().to_string();
        Self { root, operations: Vec::new(), names: BTreeMap::new(), inodes: 0, offsets: BTreeMap::new() }
    }

    /// Reads one trace (`strace -f -y -xx`).
    pub fn read(&mut self, trace: &str) {
        // Calls of threads overlap: the first half is kept until the second comes.
        let mut unfinished: BTreeMap<&str, (String, usize)> = BTreeMap::new();
        self.offsets.clear();
        for line in trace.lines() {
            let Some((thread, rest)) = line.split_once(' ') else { continue };
            let rest = rest.trim_start();
            if let Some(first) = rest.strip_suffix(" <unfinished ...>") {
                unfinished.insert(thread, (first.to_owned(), self.operations.len()));
            } else if let Some(second) = rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
                let Some((first, began)) = unfinished.remove(thread) else { continue };
                self.call(&format!("{first}{}", second.1), began);
            } else {
                self.call(rest, self.operations.len());
            }
        }
        // What was under way when the process died may have happened.
        for (first, began) in unfinished.into_values() {
            if first.starts_with("pwrite64") || first.starts_with("write") {
                let length = first.rsplit(", ").next().unwrap_or_default().trim_end_matches(')').to_owned();
                self.call(&format!("{first}) = {length}"), began);
            }
        }
    }

    fn call(&mut self, text: &str, began: usize) {
        let Some(call) = parse(text, began) else { return };
        if call.result < 0 {
            return;
        }
        let argument = |number: usize| call.arguments.get(number).cloned().unwrap_or_default();
        match call.name.as_str() {
            "openat" | "open" | "creat" => self.open(&call),
            "pwrite64" => self.write(&call, argument(3).parse().ok()),
            "write" => self.write(&call, None),
            "ftruncate" => {
                if let Some(inode) = self.inode_of(&argument(0)) {
                    self.operations.push(Operation::Truncate { inode, length: argument(1).parse().unwrap() });
                }
            }
            "lseek" => {
                let descriptor = descriptor(&argument(0));
                self.offsets.insert((call.process.clone(), descriptor), call.result.unsigned_abs());
            }
            "rename" => self.rename(&argument(0), &argument(1)),
            "renameat" | "renameat2" => self.rename(&argument(1), &argument(3)),
            "unlink" => self.unlink(&argument(0)),
            "unlinkat" => self.unlink(&argument(1)),
            "mkdir" => self.mkdir(&argument(0)),
            "mkdirat" => self.mkdir(&argument(1)),
            "fsync" | "fdatasync" => {
                let path = path_of(&argument(0));
                if path == self.root {
                    self.operations.push(Operation::SyncDirectory { began: call.began });
                } else if let Some(inode) = self.inode_of(&argument(0)) {
                    self.operations.push(Operation::SyncFile { inode, began: call.began });
                }
            }
            other => {
                let ours = call.arguments.iter().any(|argument| argument.contains(&self.root));
                assert!(!(ours && REFUSED.contains(&other)), "the store uses a call that the model lacks: {other}");
            }
        }
    }

    fn open(&mut self, call: &Call) {
        let at = usize::from(call.name == "openat");
        let (path, flags) = (string(&call.arguments[at]), call.arguments.get(at + 1).cloned().unwrap_or_default());
        self.offsets.insert((call.process.clone(), call.result.unsigned_abs()), 0);
        let Some(name) = self.name(&path) else { return };
        match self.names.get(&name) {
            Some(inode) if flags.contains("O_TRUNC") => {
                self.operations.push(Operation::Truncate { inode: *inode, length: 0 });
            }
            None if flags.contains("O_CREAT") => {
                let inode = self.inodes;
                self.inodes += 1;
                self.names.insert(name.clone(), inode);
                self.operations.push(Operation::Create { name, inode });
            }
            _ => {}
        }
    }

    fn write(&mut self, call: &Call, at: Option<u64>) {
        let descriptor_text = &call.arguments[0];
        let mut bytes = unhex(&call.arguments[1]);
        bytes.truncate(call.result.unsigned_abs() as usize);
        if descriptor(descriptor_text) == 1 {
            for line in String::from_utf8_lossy(&bytes).lines() {
                self.operations.push(Operation::Told(line.rsplit(' ').next().unwrap().parse().unwrap()));
            }
            return;
        }
        let Some(inode) = self.inode_of(descriptor_text) else { return };
        let offset = at.unwrap_or_else(|| {
            let next = self.offsets.entry((call.process.clone(), descriptor(descriptor_text))).or_default();
            let offset = *next;
            *next += bytes.len() as u64;
            offset
        });
        self.operations.push(Operation::Write { inode, offset, bytes });
    }

    fn rename(&mut self, from: &str, to: &str) {
        if let (Some(from), Some(to)) = (self.name(&string(from)), self.name(&string(to))) {
            let inode = self.names.remove(&from).expect("a renamed file has a name");
            self.names.insert(to.clone(), inode);
            self.operations.push(Operation::Rename { from, to });
        }
    }

    fn unlink(&mut self, path: &str) {
        if let Some(name) = self.name(&string(path)) {
            self.names.remove(&name);
            self.operations.push(Operation::Unlink { name });
        }
    }

    fn mkdir(&mut self, path: &str) {
        if let Some(name) = self.name(&string(path)) {
            self.operations.push(Operation::Mkdir { name });
        }
    }

    /// The name below the directory.
    fn name(&self, path: &str) -> Option<String> {
        path.strip_prefix(&self.root)?.strip_prefix('/').filter(|name| !name.is_empty()).map(str::to_owned)
    }

    fn inode_of(&self, descriptor: &str) -> Option<Inode> {
        self.names.get(&self.name(&path_of(descriptor))?).copied()
    }
}

/// `name(arguments) = result …`
fn parse(text: &str, began: usize) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(") ").filter(|(_, result)| result.trim_start().starts_with("= "))?;
    let result = result.trim_start().trim_start_matches("= ");
    let digits: String = result.chars().take_while(|c| c.is_ascii_digit() || *c == '-').collect();
    Some(Call {
        // Threads share descriptors: one process a trace.
        process: String::new(),
        name: name.to_owned(),
        arguments: arguments.split(", ").map(str::to_owned).collect(),
        result: digits.parse().ok()?,
        began,
    })
}

/// The number of `5</path>`.
fn descriptor(text: &str) -> u64 {
    text.split('<').next().unwrap().parse().unwrap_or(u64::MAX)
}

/// The path of `5</path>`.
fn path_of(text: &str) -> String {
    let path = text.split_once('<').map_or("", |(_, path)| path).trim_end_matches('>');
    String::from_utf8_lossy(&unhex(path)).into_owned()
}

/// The text of `"\x2f\x74"`.
fn string(text: &str) -> String {
    String::from_utf8_lossy(&unhex(text)).into_owned()
}

/// Bytes of `\x2f\x74`, quotes around it or not; what is not in hex stands for itself.
fn unhex(text: &str) -> Vec<u8> {
    let text = text.trim_matches('"').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut at = 0;
    while at < text.len() {
        let hex = text.get(at..at + 4).filter(|four| four.starts_with(b"\\x"));
        match hex.and_then(|four| u8::from_str_radix(std::str::from_utf8(&four[2..]).ok()?, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                at += 4;
            }
            None => {
                bytes.push(text[at]);
                at += 1;
            }
        }
    }
    bytes
}
