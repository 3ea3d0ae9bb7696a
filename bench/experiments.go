package main

// experiments are all that can be run by name, in the order of -experiment all.
var experiments = []experiment{
	{"mainjob", "count the tokens of the Go source with too little memory, killed in the middle, every count proven", runMainJob},
	{"micro", "single and grouped operations in memory against xsync.MapOf and a sharded map", runMicro},
}
