package configs

// unsupported names the cases of testdata/dialect that do not come out as in uWSGI, and why. TestDialect fails when one of
// them passes, so that the list can only shrink.
var unsupported = map[string]string{}
