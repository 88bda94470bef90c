package access

// A User is somebody with the rights that its processes have.
type User struct {
	Name     string // the number as text where it has no name
	UID, GID int
	Groups   []int   // supplementary groups; the primary one may be among them
	Caps     *uint64 // effective capabilities, as CapEff of /proc/PID/status; nil: not known, all for root and none for others
	PID      int     // the process that it was read from; 0: none
}
