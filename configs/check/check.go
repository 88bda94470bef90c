// Package check looks over vassal files for people: each finding has a place, what is wrong, why it matters and how to
// mend it. It reads files and asks for users and folders; it never runs anything that a file names.
package check
