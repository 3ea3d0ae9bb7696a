// Package s3 keeps versions in a bucket: a checkpoint.Remote over any server that speaks S3 and honours conditional writes.
//
//	remote, err := s3.Open(ctx, "s3://bucket/stores/17?region=eu-west-1")
//	...
//	store, err := hlog.Open(dir, &hlog.Options{Remote: remote})
//
// # What New finds out
//
//	N1  The bucket is there, the credentials are good for it, and the region and the clock are right: by a listing of one
//	    object. A bucket that is missing is an error here and never looks like a remote without versions.
//	N2  The server honours If-None-Match: by putting one empty object, PREFIX/.probe, which stays. It is there, so that a
//	    second put must be refused. A server that takes both would let two stores overwrite each other, and is refused.
//	    A reader (Options.ReadOnly) does without.
//
// # Invariants
//
//	N3  Each verb is one request, and is not repeated behind the caller's back, but for the conflict that S3 asks to be tried
//	    again (409 ConditionalRequestConflict). So PutIfAbsent says true if and only if this call made the object: a hidden
//	    second attempt would find what the first had made.
//	N4  Only the code NoSuchKey means that an object does not exist. Any other 404 is an error: a bucket that was removed,
//	    or a server in front that knows nothing of it.
//	N5  What cannot get better by itself, such as credentials that are refused, is a *ConfigError, which is
//	    fs.ErrPermission: checkpoint does not repeat the call. Everything else counts as passing.
//	N6  The checksum of a body (SHA-256) is part of the signature of its request: an object that was damaged on its way is
//	    refused by the server.
//
// Credentials are looked for in Options, in the environment (AWS_ACCESS_KEY_ID and so on, MINIO_ROOT_USER and so on), and in
// the files of the AWS tools; where the environment names a role (AWS_WEB_IDENTITY_TOKEN_FILE,
// AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, AWS_CONTAINER_CREDENTIALS_FULL_URI), also from its server. They are never part of
// a URL, an error or a log.
package s3
