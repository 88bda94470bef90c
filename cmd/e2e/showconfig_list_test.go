package e2e

// differs names the cases of the dialect that the daemons do not print as uWSGI does, and why. The test fails when one of
// them is the same, so that the list can only shrink.
var differs = map[string]string{}
