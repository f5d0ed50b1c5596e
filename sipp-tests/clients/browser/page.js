// Two SIP phones for a page: JsSIP and SIP.js, told what to do from the test. Signalling only: no media is answered.
import JsSIP from 'jssip';
import { Inviter, Registerer, RegistererState, SessionState, URI, UserAgent } from 'sip.js';

const soon = (promise, what) => Promise.race([
  promise,
  new Promise((_, no) => setTimeout(() => no(new Error(`${what}: nothing within 10 s`)), 10_000)),
]);

// JsSIP: registers; every call that comes is declined as busy and told.
const calls = [];
let jssip;
function jssipRegister({ ws, user, domain, password }) {
  jssip = new JsSIP.UA({
    sockets: [new JsSIP.WebSocketInterface(ws)], uri: `sip:${user}@${domain}`, password,
    register_expires: 120, user_agent: 'JsSIP test',
  });
  jssip.on('newRTCSession', ({ session, originator, request }) => {
    if (originator !== 'remote') return;
    calls.push({ from: request.from.uri.user, body: request.body, via: request.getHeader('Via'), contact: request.getHeader('Contact') });
    session.terminate({ status_code: 486 });
  });
  const done = new Promise((ok, no) => {
    jssip.on('registered', () => ok('registered'));
    jssip.on('registrationFailed', (e) => no(new Error(`registration failed: ${e.cause}`)));
    jssip.on('disconnected', () => no(new Error('not connected')));
  });
  jssip.start();
  return soon(done, 'JsSIP');
}
const jssipCalled = async () => {
  const until = Date.now() + 10_000;
  while (!calls.length && Date.now() < until) await new Promise((r) => setTimeout(r, 50));
  return calls[0] ?? null;
};
const jssipStop = () => jssip.stop();

// SIP.js: registers, calls.
let sipjs;
async function sipjsRegister({ ws, user, domain, password }) {
  sipjs = new UserAgent({
    uri: UserAgent.makeURI(`sip:${user}@${domain}`), transportOptions: { server: ws },
    authorizationUsername: user, authorizationPassword: password, logLevel: 'error',
    sessionDescriptionHandlerFactoryOptions: { iceGatheringTimeout: 500 },
  });
  await soon(sipjs.start(), 'SIP.js connect');
  const registerer = new Registerer(sipjs, { expires: 120 });
  const done = new Promise((ok, no) => {
    registerer.stateChange.addListener((state) => state === RegistererState.Registered && ok('registered'));
    registerer.register({ requestDelegate: { onReject: (r) => r.message.statusCode !== 401 && no(new Error(`registration: ${r.message.statusCode}`)) } }).catch(no);
  });
  return soon(done, 'SIP.js');
}
// The final response to an INVITE: its status.
function sipjsCall(target) {
  const inviter = new Inviter(sipjs, UserAgent.makeURI(target), { sessionDescriptionHandlerOptions: { constraints: { audio: true, video: false } } });
  const done = new Promise((ok, no) => {
    inviter.invite({ requestDelegate: {
      onAccept: (r) => ok({ status: r.message.statusCode }),
      onReject: (r) => ok({ status: r.message.statusCode, reason: r.message.reasonPhrase }),
    } }).catch(no);
  });
  return soon(done, 'SIP.js call');
}

// A bare WebSocket: open, or the refusal.
const opens = (ws) => soon(new Promise((ok) => {
  const socket = new WebSocket(ws, 'sip');
  socket.onopen = () => { socket.close(); ok(true); };
  socket.onerror = () => ok(false);
}), 'WebSocket');

window.phone = { jssipRegister, jssipCalled, jssipStop, sipjsRegister, sipjsCall, opens };
