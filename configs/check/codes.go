package check

// A Code names a kind of finding. It never changes its meaning.
type Code string

// The codes. What each means stands in Codes.
const (
	MasterOff         Code = "master-off"
	BeforeSection     Code = "before-section"
	ByteOrderMark     Code = "byte-order-mark"
	CannotLook        Code = "cannot-look"
	CannotRead        Code = "cannot-read"
	CheaperRange      Code = "cheaper-range"
	EmperorFile       Code = "emperor-file"
	EmperorOption     Code = "emperor-option"
	EnvBlank          Code = "env-blank"
	FileName          Code = "file-name"
	HiddenSection     Code = "hidden-section"
	Incomplete        Code = "incomplete"
	InlineComment     Code = "inline-comment"
	MergeConflict     Code = "merge-conflict"
	MissingFile       Code = "missing-file"
	MissingFolder     Code = "missing-folder"
	MissingModule     Code = "missing-module"
	MissingVirtualenv Code = "missing-virtualenv"
	NoAccess          Code = "no-access"
	NoEffect          Code = "no-effect"
	NoSection         Code = "no-section"
	Notice            Code = "notice"
	NotYet            Code = "not-yet"
	Overridden        Code = "overridden"
	OthersWay         Code = "others-way"
	OwnerRoot         Code = "owner-root"
	PercentLost       Code = "percent-lost"
	PercentNewline    Code = "percent-newline"
	PlaceholderFirst  Code = "placeholder-first"
	PlaceholderHere   Code = "placeholder-here"
	Quotes            Code = "quotes"
	ReloadCuts        Code = "reload-cuts"
	RunsAsRoot        Code = "runs-as-root"
	SecretReadable    Code = "secret-readable"
	SocketAbstract    Code = "socket-abstract"
	SocketFolder      Code = "socket-folder"
	SocketFolderMade  Code = "socket-folder-made"
	SocketLoopback    Code = "socket-loopback"
	SocketLong        Code = "socket-long"
	SocketNginx       Code = "socket-nginx"
	SocketOpen        Code = "socket-open"
	SocketOwner       Code = "socket-owner"
	SocketPublic      Code = "socket-public"
	SocketRelative    Code = "socket-relative"
	SocketShared      Code = "socket-shared"
	SourceShown       Code = "source-shown"
	Symlink           Code = "symlink"
	ThreadsAsync      Code = "threads-async"
	TwoApplications   Code = "two-applications"
	TyrantNeedsRoot   Code = "tyrant-needs-root"
	UIDIgnored        Code = "uid-ignored"
	Underscore        Code = "underscore"
	UndefinedName     Code = "undefined-placeholder"
	UndefinedVariable Code = "undefined-variable"
	UnknownOption     Code = "unknown-option"
	UnknownUser       Code = "unknown-user"
	UnresolvedChain   Code = "unresolved-chain"
	WatchesSources    Code = "watches-sources"
	Writable          Code = "writable"
	WrongValue        Code = "wrong-value"
)

// Codes says what each code means; docs/check.md is printed from it.
var Codes = []struct {
	Code    Code
	Levels  string
	Meaning string
}{
	{BeforeSection, "warning", "lines above the first section header, which nobody reads"},
	{ByteOrderMark, "error", "a byte-order mark hides the first section header"},
	{CannotLook, "note", "who runs the check may not look at something"},
	{CannotRead, "error", "the file, or one that it names, cannot be read"},
	{CheaperRange, "error, warning", "`cheaper` and `cheaper-initial` do not fit the number of workers"},
	{EmperorFile, "note", "the file is an emperor's own; where its vassals are"},
	{EmperorOption, "warning", "an option that only an emperor obeys, in a vassal file"},
	{EnvBlank, "warning", "`env = A = 1` sets a variable whose name ends in a blank"},
	{FileName, "error", "the vassal file's own name would be misread, or is too long"},
	{HiddenSection, "error", "a header that looks like `[uwsgi]` and is the header of another section"},
	{Incomplete, "error", "no application, or no socket"},
	{InlineComment, "warning", "what was meant as a comment is part of the value"},
	{MasterOff, "warning", "`master = false`: here every application has a supervisor"},
	{MergeConflict, "error", "a marker that a merge has left"},
	{MissingFile, "error, warning, note", "a file that the settings name is not there"},
	{MissingFolder, "error, warning", "a folder that the settings name is not there"},
	{MissingModule, "error, warning", "the application's module is not where Python would look"},
	{MissingVirtualenv, "error", "the virtual environment is missing or broken"},
	{NoAccess, "error, warning", "the application's user may not enter, read or write what it needs"},
	{NoEffect, "warning", "an option that does nothing here, and what to use instead"},
	{NoSection, "error, warning", "the section that was asked for is missing or empty"},
	{NotYet, "error, warning", "uWSGI knows it, emperord does not honour it yet"},
	{Notice, "warning", "anything else that a vassal says of its settings at start"},
	{OthersWay, "error, warning", "somebody else could have put the vassal file where it is: tyrant mode refuses it"},
	{Overridden, "warning, note", "an earlier value is replaced by a later line"},
	{OwnerRoot, "error, note", "the file belongs to root: tyrant mode refuses it"},
	{PercentLost, "warning", "`%` and the byte behind it vanish, or become something else"},
	{PercentNewline, "warning", "`%` at the end of a line swallows the next line"},
	{PlaceholderFirst, "warning", "a placeholder defined twice: the first one counts"},
	{PlaceholderHere, "warning", "an option that takes no `%(name)`, `$(NAME)` or `@(file)`"},
	{Quotes, "warning", "quotes are part of the value"},
	{ReloadCuts, "note", "a request may run longer than a reload waits for it"},
	{RunsAsRoot, "error, warning", "the application would run as root"},
	{SecretReadable, "note", "a file with a password in it that everybody may read"},
	{SocketAbstract, "warning", "an abstract socket: every user may connect"},
	{SocketFolder, "error", "the socket's folder is missing, or the socket may not be there"},
	{SocketFolderMade, "note", "the socket's folder is missing, and emperord makes it"},
	{SocketLong, "error", "the socket's path is longer than the kernel takes"},
	{SocketLoopback, "warning", "a TCP socket that every local user may connect to"},
	{SocketNginx, "error", "nginx may not connect to the socket"},
	{SocketOpen, "warning", "the socket's mode lets everybody connect"},
	{SocketOwner, "error", "`chown-socket` asks for an owner or group that tyrant mode refuses"},
	{SocketPublic, "warning", "a uwsgi socket that other machines may connect to"},
	{SocketRelative, "note", "a relative socket path, and where it leads"},
	{SocketShared, "error", "two vassals ask for one socket"},
	{SourceShown, "warning", "a program or address that the file names; it was not run or asked"},
	{Symlink, "note, error", "the vassal file is a link"},
	{ThreadsAsync, "warning", "threads together with gevent, asyncio or async"},
	{TwoApplications, "warning", "both `module` and `wsgi-file`: only one is loaded"},
	{TyrantNeedsRoot, "error", "an emperor's file with `emperor-tyrant` and a `uid`"},
	{UIDIgnored, "warning", "`uid` or `gid` that the file's owner overrides"},
	{UndefinedName, "warning", "a `%(name)` that nothing defines stays as text"},
	{UndefinedVariable, "warning", "a `$(NAME)` that is not in the emperor's environment stays as text"},
	{Underscore, "warning", "an option written with underscores"},
	{UnknownOption, "warning", "a key that is no option and that nothing refers to"},
	{UnknownUser, "error, warning", "a user or group that does not exist"},
	{UnresolvedChain, "warning", "a reference that uWSGI's order of steps leaves as text"},
	{WatchesSources, "warning", "`py-autoreload`: meant for a developer's desk"},
	{Writable, "error, warning", "others than the file's owner may write it"},
	{WrongValue, "error", "a value that the option does not take"},
}
