// Package vassal runs one application: it starts the language host on the listeners, keeps its workers alive, and ends
// it without losing a request.
//
// One goroutine, locked to one thread, owns everything (supervisor). Signals, words of the emperor and reports of the
// hosts reach it through channels; every deadline is a field of what it belongs to. A host is one generation of the
// application. A reload starts a second host on the same listeners and stops the first one when all workers of the
// second accept; if the second fails, the first one serves on.
//
// vassald runs in one of three ways:
//
//   - under emperord: the listeners and the resolved settings are inherited (docs/architecture.md);
//   - alone: it reads its file and binds by itself, with the rights it was started with;
//   - under a real uWSGI emperor: as alone, and it speaks the words of the emperor pipe.
package vassal
