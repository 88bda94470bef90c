// Package pipe holds the words that an emperor and a vassal say to each other over the emperor pipe, and the notice
// board on which a vassal says why it failed.
//
// The words are single bytes; their values are those of the uWSGI emperor, so that a real uwsgi can be the vassal of
// emperord and vassald the vassal of a real uWSGI emperor. Unknown words are skipped.
package pipe

// FDVariable names the environment variable that holds the number of the emperor pipe in a vassal (uWSGI's name).
const FDVariable = "UWSGI_EMPEROR_FD"

// ConfigVariable names the variable that holds the number of the socket on which an emperor hands over a configuration
// that is no file: emperor://NAME (uWSGI's name).
const ConfigVariable = "UWSGI_EMPEROR_FD_CONFIG"

// Variables of a vassal that runs under emperord. See docs/architecture.md, "Starting one vassal".
const (
	VassalVariable    = "EMPERORD_VASSAL"      // the vassal's name; in every process of the vassal
	FileVariable      = "EMPERORD_FILE_FD"     // while resolving: the opened vassal file
	SettingsVariable  = "EMPERORD_SETTINGS_FD" // the resolution, a sealed memfd
	BoardVariable     = "EMPERORD_BOARD_FD"    // the notice board, a memfd of BoardSize bytes
	ListenersVariable = "EMPERORD_LISTENERS"   // how many listeners stand from descriptor 3 on
	DepthVariable     = "EMPERORD_DEPTH"       // in a vassal that is an emperor: how many are above it
	MercyVariable     = "EMPERORD_MERCY"       // there too: how many seconds it may take to stop
	KeptVariable      = "EMPERORD_KEPT"        // set where somebody keeps the listeners should the emperor be killed, and starts another one
)

// FirstListener is the descriptor of a vassal's first listener.
const FirstListener = 3

// A Word is one byte on the emperor pipe.
type Word byte

// Words from the emperor to a vassal.
const (
	Stop         Word = 0 // stop at once
	Reload       Word = 1 // reload
	StopGraceful Word = 2 // finish what is under way, then stop
)

// Exile is the exit code with which a vassal asks not to be started again until its file changes (uWSGI's number).
const Exile = 26

// Words from a vassal to the emperor.
const (
	Spawned       Word = 1  // the vassal has started its workers
	WantConfig    Word = 2  // send me my configuration
	Accepting     Word = 5  // a worker accepts requests
	Loyal         Word = 17 // the first request has been served
	LetMeGo       Word = 22 // on demand: back to waiting
	Heartbeat     Word = 26 // still alive
	Reinforcement Word = 30 // overloaded, send another one
)
