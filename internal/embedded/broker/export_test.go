package broker

// Clean lets tests apply retention as of any time.
var Clean = (*Broker).clean
