// Package hosts holds the language hosts: programs in the language of the application, with nothing but its standard
// library, which load the application and fork its workers. They are embedded here and handed to the interpreter as
// descriptors, so that there is nothing to install and nothing that a tenant could change.
package hosts

import (
	"crypto/sha256"
	"embed"
	"strconv"
)

//go:embed python/*.py compiled/*
var files embed.FS

// pythonModules are the modules of the Python host in the order in which they are run; the last one has main().
var pythonModules = []string{"request", "headers", "worker", "load", "api", "host"}

// VassaldVariable names the environment variable with the pid of the vassald that has started a host. The host, the workers
// and what the application starts carry it: should vassald be killed, the host finds by it what has to end.
const VassaldVariable = "EMPERORD_VASSALD"

// PythonBoot returns the program text that the interpreter runs. The interpreter's command line is
//
//	INTERPRETER /proc/self/fd/N NAME
//
// and its descriptors are 0, 1 and 2, the listeners from 3 on, the control socket (N-3), the scoreboard (N-2), what
// PythonModules returns (N-1) and this text (N).
func PythonBoot() []byte { return read("python/boot.py") }

// PythonModules returns the host's modules as the boot text reads them: parts, each a line "NAME LENGTH" and LENGTH
// bytes. version is the interpreter's as far as it is known ("3.11"). For the usual versions a part named "compiled"
// comes first: compiling the host takes as long as starting the interpreter. The boot text compares the magic number,
// so a wrong guess costs time and nothing else.
func PythonModules(version string) []byte {
	sources := pythonSources()
	code, err := files.ReadFile(compiledName(version))
	if err != nil || len(code) < sha256.Size || [sha256.Size]byte(code) != sha256.Sum256(sources) {
		return sources
	}
	code = code[sha256.Size:]
	all := append([]byte("compiled "+strconv.Itoa(len(code))+"\n"), code...)
	return append(all, sources...)
}

// compiledName is where the compiled modules for a version are: the SHA-256 of the sources, the interpreter's magic
// number, and the marshalled list of (name, code).
func compiledName(version string) string { return "compiled/cpython-" + version }

func pythonSources() []byte {
	var all []byte
	for _, name := range pythonModules {
		text := read("python/" + name + ".py")
		all = append(all, name+" "+strconv.Itoa(len(text))+"\n"...)
		all = append(all, text...)
	}
	return all
}

func read(name string) []byte {
	text, err := files.ReadFile(name)
	if err != nil {
		panic(err) // embedded: the compiler has seen it
	}
	return text
}
