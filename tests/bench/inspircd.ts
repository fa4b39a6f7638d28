/**
 * The configuration of InspIRCd over WebSocket, a peer.
 *
 * All its rate limits are off. It stores nothing.
 */

/** Returns a configuration file for `inspircd --config`. The server listens on one local port. */
export function inspircdConfig(port: number, folder: string): string {
  const modules = ["websocket", "sha1", "cap", "ircv3_echomessage"];
  return `
<server name="irc.bench.test" description="bench" network="bench" id="1AA">
<admin name="bench" nick="bench" email="bench@bench.test">
<bind address="127.0.0.1" port="${port}" type="clients" hook="websocket">
<connect name="main" allow="*" timeout="120" pingfreq="3600" commandrate="100000000"
  fakelag="no" threshold="1000000" recvq="16M" softsendq="64M" hardsendq="64M"
  localmax="100000" globalmax="100000" maxconnwarn="no" useident="no" resolvehostnames="no"
  useconnflood="no" maxchans="20">
<cidr ipv4clone="32" ipv6clone="128">
<performance softlimit="100000" somaxconn="4096" netbuffersize="65534" clonesonconnect="no">
<limits maxnick="40" maxchan="64" maxline="4096">
<path configdir="${folder}" datadir="${folder}" logdir="${folder}" runtimedir="${folder}">
<pid file="${folder}/inspircd.pid">
<log method="file" type="*" level="sparse" target="${folder}/inspircd.log">
<dns server="127.0.0.1" timeout="1">
<options prefixquit="" syntaxhints="no" hostintopic="no" defaultmodes="">
<security hidebans="no" maxtargets="20">
<websocket sendastext="yes">
<wsorigin allow="*">
${modules.map((name) => `<module name="${name}">`).join("\n")}
`;
}
