# Texts of every page.

product = Service vouchers
skip-to-content = Skip to the content
language = Language
signed-in-as = Signed in as { $name }
sign-out = Sign out
back-to-start = Back to the start page

start = Start
start-hello = Hello, { $name }
start-choose = Choose what you want to do.
start-about = This is this institution's voucher node. Staff sign in first.
reasons = Why something is refused
reasons-about = Every reason for which the system says no, and what to do then.
interface = Interface for programs
interface-about = For the IT department and makers of software.

sign-in = Sign in
sign-in-about = With the account that your institution gave you.
account-name = Account name
password-word = Password
sign-in-provider = Sign in with your organisation's account
sign-in-forgotten = If you have forgotten your password, ask whoever keeps your institution's accounts to set a new one.

password = Change the password
password-about = To one that only you know.
password-needed = Somebody else set this password for you, and it works once. Choose one of your own before you begin.
password-current = Current password
password-new = New password
password-rule = At least 12 characters, and not the account's name. A few words that you remember easily do well.
password-save = Save the new password
password-set = The password is changed. You are signed out on all your other devices.

problem-sign-in = Please sign in
problem-forbidden = You may not do this
problem-not-found = Not found
problem-too-often = One moment, please
problem-node = The system cannot do this now
problem-refused = It was not done
problem-again = { $secs ->
    [one] Try again in one second.
   *[other] Try again in { $secs } seconds.
}
problem-code = Reason code:
